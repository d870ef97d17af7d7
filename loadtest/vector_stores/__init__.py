"""Stores of vectors behind one interface, each measured in a process of its own. All modules but `ours` do without the
gateway: other stores come with an interpreter of their own."""
