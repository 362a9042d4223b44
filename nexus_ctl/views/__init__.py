"""Views: values → text or JSON. They fetch nothing and decide nothing."""
