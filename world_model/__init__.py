"""A learned Pong beside the exact one: recorded, trained, measured, played. `python -m world_model --help`."""
