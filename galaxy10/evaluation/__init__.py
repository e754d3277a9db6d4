"""From prediction tables to metrics, figures and pages."""
