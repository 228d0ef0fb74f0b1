"""What every stage shares: contracts, errors, schemas, manifests. Imports nothing else of ours."""
