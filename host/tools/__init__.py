"""External programs: how they are found and run, with logs and time limits."""
