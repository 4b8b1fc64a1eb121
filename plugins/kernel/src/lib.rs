//! Effects: observe a scope of the kernel as a World, apply a Plan to it. Decides nothing.
