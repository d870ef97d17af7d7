"""The load-testing harness. So far: the latency of one question at a time. Not part of the installed package."""
