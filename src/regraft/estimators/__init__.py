"""Estimators for scikit-learn: `regraft.RegraftClassifier`, `regraft.RegraftRegressor`, `regraft.Features`."""
