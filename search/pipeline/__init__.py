"""The whole search as a pipeline of commands: run, reproduce, quickstart, and the plan of each."""
