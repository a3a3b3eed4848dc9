"""A folder of labelled images, understood: one module per layout, and the folds."""
