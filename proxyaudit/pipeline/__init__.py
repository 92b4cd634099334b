"""The audit of one recipe: run in tasks with resume, publish the evidence."""
