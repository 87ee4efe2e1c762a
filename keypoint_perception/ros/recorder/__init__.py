"""The recorder: topics of any type into bags that can be read whenever recording stops."""
