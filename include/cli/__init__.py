"""The command line `millrace`. Modules register commands, and import what these need when they run."""
