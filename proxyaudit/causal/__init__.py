"""Interventions on representations: does the model use the feature?"""
