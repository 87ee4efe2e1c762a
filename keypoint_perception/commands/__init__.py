"""The command line: one file a verb, reading arguments and calling the rooms."""
