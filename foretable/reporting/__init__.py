"""Reports: what a warehouse knows of a prediction, its pictures, and the pages that show both."""
