"""MariaDB and MySQL as a source."""
