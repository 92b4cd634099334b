"""Write a release as a cure that was tried alters it, with a recipe that audits it."""
