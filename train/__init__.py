"""Recipes, shipped as data of the package `vidcolor.recipes_data`; nothing here is imported."""
