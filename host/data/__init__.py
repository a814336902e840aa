"""What comes with the package: the demonstration's network and its images."""
