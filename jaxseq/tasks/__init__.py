"""The applications, each from data to report: forecasting a series, translating sentences."""
