"""Mixed precision under ``torch.amp``'s names: ``autocast`` and ``GradScaler``. See docs/mixed_precision.md."""

from numbanet.amp.grad_scaler import GradScaler
from numbanet.precision import autocast, custom_bwd, custom_fwd, is_autocast_available

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
