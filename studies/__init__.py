"""Questions beyond the paper: variants of the student, other classifiers, probes. serlib never imports it."""
