"""Motion files in; motions in metres, Y up, on a known layout, out."""
