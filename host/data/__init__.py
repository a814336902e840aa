"""Files that come with the package: the demonstration network and its held-out images."""
