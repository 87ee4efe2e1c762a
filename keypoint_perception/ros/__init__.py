"""The live path: nodes, parameters, messages, diagnostics."""
