"""The Open Inference Protocol (v2), with what of Triton's additions clients call: see `servicer`."""
