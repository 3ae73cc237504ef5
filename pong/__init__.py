"""The game: the emulator under exact rules, a game played, evaluation, film, terminal."""
