"""Networks written as files that other runtimes read."""
