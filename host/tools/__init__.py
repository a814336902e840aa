"""External programs: finding and running them, with logs and time limits."""
