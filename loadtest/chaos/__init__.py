"""The fault tests: a real gateway, one fault at a time, and what its callers see of it."""
