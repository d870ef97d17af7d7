"""The load-testing harness: open loop, scenarios, capacity, peers and reports. Not part of the installed package."""
