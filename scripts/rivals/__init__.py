"""Other ways of adapting a deblurring network at test time, written from their papers, for comparison."""
