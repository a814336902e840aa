"""Package data: the network and the images of the demonstration."""
