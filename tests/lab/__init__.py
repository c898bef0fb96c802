"""Infrastructure of the end-to-end tests: container engine, base images, machines, a release to install."""
