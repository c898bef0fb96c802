"""The deploy on real machines and images, seen by real clients."""
