"""Mode log for PostgreSQL: logical decoding by pgoutput, read in batches from a replication slot."""
