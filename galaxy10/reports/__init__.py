"""Pages and figures, made from run directories alone."""
