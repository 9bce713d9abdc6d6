"""Reading the text of venues: what their scanners and slow decoders have in common."""
