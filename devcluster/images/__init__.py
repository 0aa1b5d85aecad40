"""Builds the two images and puts them into the cluster: `python -m devcluster.images build|load`.

`definition` says what an image is made of, `builder` how the machine's builder is called, `base` makes a base image where no
registry can be reached, `archive` gives every builder's output one form with one digest, `loading` hands it to the cluster.
"""
