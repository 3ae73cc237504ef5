"""What a run says of itself: the properties declared and seen, the report and its page, trackers."""
