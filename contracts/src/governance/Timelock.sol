// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

// Compiled as it is: an owner that announces every change and makes it only after a delay.
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
