"""The published weights: which file, from where, to which place below weights/."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One file of the published networks.

    place: where the configurations expect it, below weights/. page: what its authors say about it. url: where it can be
    had by plain HTTPS, None where it lies on a drive. network: how `scripts.check_weights.identify` begins its answer.
    digest: first digits of its SHA-256, where its name holds them.
    """

    place: str
    page: str
    network: str
    url: str | None = None
    digest: str = ""
    about: str = ""


GITHUB = "https://github.com"
WEIGHTS = {
    "BME": Published("BME/best_net.pth", f"{GITHUB}/Jin-Ting-He/DADeblur", "BME"),
    "ID_Blau": Published(
        "ID_Blau/ID_Blau.pth",
        f"{GITHUB}/plusgood-steven/ID-Blau",
        "ID-Blau",
        # HEAD is the repository's main branch, whatever its name.
        f"{GITHUB}/plusgood-steven/ID-Blau/raw/HEAD/weights/ID_Blau.pth",
    ),
    "RAFT": Published(
        "RAFT/raft-things.pth",
        f"{GITHUB}/princeton-vl/RAFT",
        "raft_large",
        "https://download.pytorch.org/models/raft_large_C_T_V1-22a6c225.pth",
        "22a6c225",
        "the authors' weights as torchvision has them",
    ),
    "ESTRNN": Published("ESTRNN/best_ESTRNN_baseline.pth", f"{GITHUB}/Jin-Ting-He/DADeblur", "ESTRNN"),
    "MMP_RNN": Published("MMP_RNN/model_best.pth.tar", f"{GITHUB}/sollynoay/MMP-RNN", "MMP_RNN"),
    "DSTNet": Published(
        "DSTNet/GOPRO.pth",
        f"{GITHUB}/xuboming8/DSTNet",
        "DSTNet",
        f"{GITHUB}/xuboming8/DSTNet/raw/HEAD/experiments/GOPRO.pth",
    ),
    "Shift_Net": Published("Shift_Net/net_gopro_deblur.pth", f"{GITHUB}/dasongli1/Shift-Net", "Shift_Net"),
}
