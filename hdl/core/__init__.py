"""The machine: its memories, its array, its control and its output stage, wired together in `machine`."""
