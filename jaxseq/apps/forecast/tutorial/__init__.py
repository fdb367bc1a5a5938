"""The tutorial's two forecasters, as they are: a small network over windows, one step ahead and fed back."""
