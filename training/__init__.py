"""How the player learns: settings, the update in its two presets, the recorder of what was committed, replay."""
