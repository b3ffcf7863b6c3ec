"""Ray's ``ray.util.accelerators``: values of the option ``accelerator_type``."""

from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI100 as AMD_INSTINCT_MI100
from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI210 as AMD_INSTINCT_MI210
from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI250 as AMD_INSTINCT_MI250
from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI300A as AMD_INSTINCT_MI300A
from trayray.util.accelerators.accelerators import AMD_RADEON_HD_7900 as AMD_RADEON_HD_7900
from trayray.util.accelerators.accelerators import AMD_RADEON_R9_200_HD_7900 as AMD_RADEON_R9_200_HD_7900
from trayray.util.accelerators.accelerators import APPLE_M1 as APPLE_M1
from trayray.util.accelerators.accelerators import APPLE_M1_MAX as APPLE_M1_MAX
from trayray.util.accelerators.accelerators import APPLE_M1_PRO as APPLE_M1_PRO
from trayray.util.accelerators.accelerators import APPLE_M1_ULTRA as APPLE_M1_ULTRA
from trayray.util.accelerators.accelerators import APPLE_M2 as APPLE_M2
from trayray.util.accelerators.accelerators import APPLE_M2_MAX as APPLE_M2_MAX
from trayray.util.accelerators.accelerators import APPLE_M2_PRO as APPLE_M2_PRO
from trayray.util.accelerators.accelerators import APPLE_M2_ULTRA as APPLE_M2_ULTRA
from trayray.util.accelerators.accelerators import APPLE_M3 as APPLE_M3
from trayray.util.accelerators.accelerators import APPLE_M3_MAX as APPLE_M3_MAX
from trayray.util.accelerators.accelerators import APPLE_M3_PRO as APPLE_M3_PRO
from trayray.util.accelerators.accelerators import APPLE_SILICON as APPLE_SILICON
from trayray.util.accelerators.accelerators import AWS_NEURON_CORE as AWS_NEURON_CORE
from trayray.util.accelerators.accelerators import FURIOSA_RNGD as FURIOSA_RNGD
from trayray.util.accelerators.accelerators import GOOGLE_TPU_V2 as GOOGLE_TPU_V2
from trayray.util.accelerators.accelerators import GOOGLE_TPU_V3 as GOOGLE_TPU_V3
from trayray.util.accelerators.accelerators import GOOGLE_TPU_V4 as GOOGLE_TPU_V4
from trayray.util.accelerators.accelerators import GOOGLE_TPU_V5LITEPOD as GOOGLE_TPU_V5LITEPOD
from trayray.util.accelerators.accelerators import GOOGLE_TPU_V5P as GOOGLE_TPU_V5P
from trayray.util.accelerators.accelerators import GOOGLE_TPU_V6E as GOOGLE_TPU_V6E
from trayray.util.accelerators.accelerators import GOOGLE_TPU_V7X as GOOGLE_TPU_V7X
from trayray.util.accelerators.accelerators import HUAWEI_NPU_910B as HUAWEI_NPU_910B
from trayray.util.accelerators.accelerators import HUAWEI_NPU_910B4 as HUAWEI_NPU_910B4
from trayray.util.accelerators.accelerators import INTEL_GAUDI as INTEL_GAUDI
from trayray.util.accelerators.accelerators import INTEL_MAX_1100 as INTEL_MAX_1100
from trayray.util.accelerators.accelerators import INTEL_MAX_1550 as INTEL_MAX_1550
from trayray.util.accelerators.accelerators import METAX_C500 as METAX_C500
from trayray.util.accelerators.accelerators import METAX_C550 as METAX_C550
from trayray.util.accelerators.accelerators import MOBILINT_ARIES as MOBILINT_ARIES
from trayray.util.accelerators.accelerators import MOBILINT_REGULUS as MOBILINT_REGULUS
from trayray.util.accelerators.accelerators import NVIDIA_A100 as NVIDIA_A100
from trayray.util.accelerators.accelerators import NVIDIA_A100_40G as NVIDIA_A100_40G
from trayray.util.accelerators.accelerators import NVIDIA_A100_80G as NVIDIA_A100_80G
from trayray.util.accelerators.accelerators import NVIDIA_B200 as NVIDIA_B200
from trayray.util.accelerators.accelerators import NVIDIA_B300 as NVIDIA_B300
from trayray.util.accelerators.accelerators import NVIDIA_GB200 as NVIDIA_GB200
from trayray.util.accelerators.accelerators import NVIDIA_GB300 as NVIDIA_GB300
from trayray.util.accelerators.accelerators import NVIDIA_H20 as NVIDIA_H20
from trayray.util.accelerators.accelerators import NVIDIA_H100 as NVIDIA_H100
from trayray.util.accelerators.accelerators import NVIDIA_H200 as NVIDIA_H200
from trayray.util.accelerators.accelerators import NVIDIA_L4 as NVIDIA_L4
from trayray.util.accelerators.accelerators import NVIDIA_L40S as NVIDIA_L40S
from trayray.util.accelerators.accelerators import NVIDIA_RTX_PRO_6000 as NVIDIA_RTX_PRO_6000
from trayray.util.accelerators.accelerators import NVIDIA_TESLA_A10G as NVIDIA_TESLA_A10G
from trayray.util.accelerators.accelerators import NVIDIA_TESLA_A100 as NVIDIA_TESLA_A100
from trayray.util.accelerators.accelerators import NVIDIA_TESLA_K80 as NVIDIA_TESLA_K80
from trayray.util.accelerators.accelerators import NVIDIA_TESLA_P4 as NVIDIA_TESLA_P4
from trayray.util.accelerators.accelerators import NVIDIA_TESLA_P100 as NVIDIA_TESLA_P100
from trayray.util.accelerators.accelerators import NVIDIA_TESLA_T4 as NVIDIA_TESLA_T4
from trayray.util.accelerators.accelerators import NVIDIA_TESLA_V100 as NVIDIA_TESLA_V100
from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI250x as AMD_INSTINCT_MI250x
from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI300x as AMD_INSTINCT_MI300x
from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI300x_HF as AMD_INSTINCT_MI300x_HF
from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI308x as AMD_INSTINCT_MI308x
from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI325x as AMD_INSTINCT_MI325x
from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI350x as AMD_INSTINCT_MI350x
from trayray.util.accelerators.accelerators import AMD_INSTINCT_MI355x as AMD_INSTINCT_MI355x

__all__ = (
    "AMD_INSTINCT_MI100",
    "AMD_INSTINCT_MI210",
    "AMD_INSTINCT_MI250",
    "AMD_INSTINCT_MI250x",
    "AMD_INSTINCT_MI300A",
    "AMD_INSTINCT_MI300x",
    "AMD_INSTINCT_MI300x_HF",
    "AMD_INSTINCT_MI308x",
    "AMD_INSTINCT_MI325x",
    "AMD_INSTINCT_MI350x",
    "AMD_INSTINCT_MI355x",
    "AMD_RADEON_HD_7900",
    "AMD_RADEON_R9_200_HD_7900",
    "APPLE_M1",
    "APPLE_M1_MAX",
    "APPLE_M1_PRO",
    "APPLE_M1_ULTRA",
    "APPLE_M2",
    "APPLE_M2_MAX",
    "APPLE_M2_PRO",
    "APPLE_M2_ULTRA",
    "APPLE_M3",
    "APPLE_M3_MAX",
    "APPLE_M3_PRO",
    "APPLE_SILICON",
    "AWS_NEURON_CORE",
    "FURIOSA_RNGD",
    "GOOGLE_TPU_V2",
    "GOOGLE_TPU_V3",
    "GOOGLE_TPU_V4",
    "GOOGLE_TPU_V5LITEPOD",
    "GOOGLE_TPU_V5P",
    "GOOGLE_TPU_V6E",
    "GOOGLE_TPU_V7X",
    "HUAWEI_NPU_910B",
    "HUAWEI_NPU_910B4",
    "INTEL_GAUDI",
    "INTEL_MAX_1100",
    "INTEL_MAX_1550",
    "METAX_C500",
    "METAX_C550",
    "MOBILINT_ARIES",
    "MOBILINT_REGULUS",
    "NVIDIA_A100",
    "NVIDIA_A100_40G",
    "NVIDIA_A100_80G",
    "NVIDIA_B200",
    "NVIDIA_B300",
    "NVIDIA_GB200",
    "NVIDIA_GB300",
    "NVIDIA_H100",
    "NVIDIA_H20",
    "NVIDIA_H200",
    "NVIDIA_L4",
    "NVIDIA_L40S",
    "NVIDIA_RTX_PRO_6000",
    "NVIDIA_TESLA_A100",
    "NVIDIA_TESLA_A10G",
    "NVIDIA_TESLA_K80",
    "NVIDIA_TESLA_P100",
    "NVIDIA_TESLA_P4",
    "NVIDIA_TESLA_T4",
    "NVIDIA_TESLA_V100",
)
