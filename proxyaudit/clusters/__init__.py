"""Other people's machines: calls made by the workers of dask, of ray, or of any backend that joblib knows."""
