"""The spine that every task shares; it knows no task."""
