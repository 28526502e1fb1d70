"""From ImageNet's official archives to class folders or shards, and the check of what came out."""
