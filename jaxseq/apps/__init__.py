"""Applications of the library, each a folder: its settings, data, training, model and command."""
